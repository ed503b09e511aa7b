"""Completion scripts for bash, zsh and fish, made from the commands and their options.

In bash and zsh, two functions in the language that both share say which command the words before the cursor name, and
which words may come next; a few lines of each shell's own put them to use.
"""

from collections.abc import Iterator, Mapping, Sequence

from .fields import Option

FILES, VALUE = "@files", "@value"
Commands = Mapping[str, Mapping[str, str]]
Options = Mapping[str, Sequence[Option]]
Values = Mapping[int, Sequence[str]]  # by id of the option

SHARED = """\
_mpitrain_command() {  # the command that the words name
    local family=
    while [ $# -gt 0 ]; do
        case "$1" in
        -n | -np) shift ;;
        -n[0-9]*) ;;
        -*) echo "${family:-train}"; return ;;
        FAMILIES) if [ -n "$family" ]; then echo "$family $1"; return; fi; family=$1 ;;
        *) [ "$1" = help ] || { echo "${family:+$family }$1"; return; } ;;
        esac
        [ $# -gt 0 ] && shift
    done
    echo "$family"
}
_mpitrain_words() {  # what may follow: COMMAND PREVIOUS-WORD WORD-BEGUN
    case "$1 $2" in
VALUES
    esac
    case "$3" in
    -*)
        case "$1" in
OPTIONS
        esac ;;
    *)
        case "$1" in
COMMANDS
        esac ;;
    esac
}
"""

BASH = """\
# bash completion for mpitrain: eval "$(mpitrain completion bash)" in ~/.bashrc
SHARED_mpitrain() {
    local word words cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD - 1]}"
    local command="$(_mpitrain_command "${COMP_WORDS[@]:1:COMP_CWORD-1}")"
    words=$(_mpitrain_words "$command" "$prev" "$cur")
    case "$cur $prev" in
    ": "*) cur= words=FILES ;;  # bash takes csv:FILE for three words
    *" :") words=FILES ;;
    esac
    COMPREPLY=()
    for word in $words; do
        case "$word" in
        FILES)
            compopt -o filenames 2>/dev/null
            while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen -f -- "$cur") ;;
        VALUE) ;;
        "$cur"*)
            COMPREPLY+=("$word")
            case "$word" in *:) compopt -o nospace 2>/dev/null ;; esac ;;
        esac
    done
}
complete -F _mpitrain mpitrain
"""

ZSH = """\
#compdef mpitrain
# zsh completion for mpitrain: eval "$(mpitrain completion zsh)" in ~/.zshrc, after compinit
SHARED_mpitrain() {
    local command word found=()
    if compset -P '*:'; then  # csv:FILE
        _files
        return
    fi
    command="$(_mpitrain_command "${(@)words[2,CURRENT - 1]}")"
    for word in ${=$(_mpitrain_words "$command" "${words[CURRENT - 1]}" "$PREFIX")}; do
        case "$word" in
        FILES) _files ;;
        VALUE) ;;
        *) found+=("$word") ;;
        esac
    done
    (( ${#found} )) && compadd -- $found
}
compdef _mpitrain mpitrain
"""

FISH = """\
# fish completion for mpitrain: mpitrain completion fish | source
function __mpitrain_at
    set -l found
    set -l words (commandline -opc)[2..-1]
    while set -q words[1]
        switch $words[1]
            case -n -np
                set -e words[1]
            case '-n*' help
            case '-*'
                set -q found[1]; or set found train
                break
            case FAMILIES
                set -a found $words[1]
                set -q found[2]; and break
            case '*'
                set -a found $words[1]
                break
        end
        set -q words[1]; and set -e words[1]
    end
    test "$found" = "$argv"
end
function __mpitrain_files_after_colon
    set -l parts (string split -m 1 : -- (commandline -ct))
    set -q parts[2]; and printf '%s\n' $parts[1]:(__fish_complete_path $parts[2])
end
complete -c mpitrain -f
complete -c mpitrain -n '__mpitrain_at' -s n -x -d 'Number of ranks to start'
"""


def bash(commands: Commands, options: Options, values: Values) -> str:
    """Return the script for bash."""
    return _with_shared(BASH, commands, options, values)


def zsh(commands: Commands, options: Options, values: Values) -> str:
    """Return the script for zsh."""
    return _with_shared(ZSH, commands, options, values)


def fish(commands: Commands, options: Options, values: Values) -> str:
    """Return the script for fish, with one line per command and option."""
    families = " ".join(place for place in commands if place)
    lines = [FISH.replace("FAMILIES", families)]
    for place, words in commands.items():
        at = f"complete -c mpitrain -n {_quote(f'__mpitrain_at {place}'.strip())}"
        lines += [f"{at} -a {word} -d {_quote(_first_sentence(text))}\n" for word, text in words.items()]
    for place, found in options.items():
        at = f"complete -c mpitrain -n {_quote(f'__mpitrain_at {place}'.strip())}"
        lines += [f"{at} {line}\n" for option in found for line in _fish_option(option, values[id(option)])]
    return "".join(lines)


def _with_shared(script: str, commands: Commands, options: Options, values: Values) -> str:
    cases = {
        "VALUES": _cases(_value_cases(options, values), 4, "; return"),
        "OPTIONS": _cases({place: _flags(place, found) for place, found in options.items()}, 8),
        "COMMANDS": _cases(
            {place: " ".join(words) for place, words in commands.items()} | _argument_cases(options, values), 8
        ),
        "FAMILIES": " | ".join(place for place in commands if place),
    }
    shared = SHARED
    for name, text in cases.items():
        shared = shared.replace(name, text)
    return script.replace("SHARED", shared).replace("FILES", FILES).replace("VALUE", VALUE)


def _cases(found: Mapping[str, str], indent: int, end: str = "") -> str:
    """Return one branch of a case per place (or several, joined by |), with the words to print there."""
    places: dict[str, list[str]] = {}
    for place, words in found.items():
        places.setdefault(words, []).append(f'"{place}"')
    return "\n".join(f"{'':{indent}}{' | '.join(same)}) echo {_quote(words)}{end} ;;" for words, same in places.items())


def _value_cases(options: Options, values: Values) -> dict[str, str]:
    return {
        f"{place or 'train'} {flag}": " ".join(values[id(option)])
        for place, found in options.items()
        for option in found
        for flag in option.flags
        if values[id(option)]
    }


def _argument_cases(options: Options, values: Values) -> dict[str, str]:
    """Return the words for the positional arguments of each command."""
    arguments = {place: [option for option in found if not option.flags] for place, found in options.items() if place}
    return {
        place: " ".join(word for option in found for word in values[id(option)])
        for place, found in arguments.items()
        if found
    }


def _flags(place: str, options: Sequence[Option]) -> str:
    return " ".join([*([] if place else ["-n"]), "--help", *(flag for option in options for flag in option.flags)])


def _fish_option(option: Option, values: Sequence[str]) -> Iterator[str]:
    about = f"-d {_quote(_first_sentence(option.help))}"
    words = " ".join(word for word in values if not word.startswith("@"))
    words += " (__mpitrain_files_after_colon)" if any(word.endswith(":") for word in values) else ""
    given = f"-a {_quote(words)}" if words else ""
    files = "-F" if FILES in values else ""
    if not option.flags:
        yield f"{given} {files}".strip()
        return
    takes = "" if not option.takes_value else f"-r {given} {files}".rstrip() if files else f"-x {given}".rstrip()
    for flag in option.flags:
        name = f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}"
        yield f"{name} {takes} {about}"


def _first_sentence(text: str) -> str:
    return text.partition(". ")[0].removesuffix(".")


def _quote(text: str) -> str:
    """Return ``text`` in single quotes, for all three shells."""
    return "'" + text.replace("\\", "\\\\").replace("'", "'\\''") + "'"
