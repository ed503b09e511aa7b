#include "requests.h"

#include <algorithm>

namespace lab {

using on_cpu::block;
using on_cpu::WARP;

namespace {

constexpr int CHUNK_WORDS = 4;  // of 16 bytes

struct Cost {
  int transactions, least;
};

int distinct(std::vector<int64_t>& values) {
  std::sort(values.begin(), values.end());
  return int(std::unique(values.begin(), values.end()) - values.begin());
}

// Arrays begin at multiples of 256 bytes, as those of cudaMalloc do, so offsets in them will do.
Cost sectors(const std::vector<int64_t>& offsets, int bytes) {
  std::vector<int64_t> touched, words;
  for (int64_t offset : offsets)
    for (int i = 0; i < bytes; i += BANK_BYTES) {
      touched.push_back((offset + i) / SECTOR_BYTES);
      words.push_back((offset + i) / BANK_BYTES);
    }
  const int used = distinct(words) * BANK_BYTES;
  return {distinct(touched), (used + SECTOR_BYTES - 1) / SECTOR_BYTES};
}

// The turns of the banks for some words, which are left sorted, each once.
int turns_of(std::vector<int64_t>& words) {
  words.resize(distinct(words));
  int in_bank[BANKS] = {};
  for (int64_t word : words) in_bank[word % BANKS]++;
  return *std::max_element(in_bank, in_bank + BANKS);
}

// Lanes that read the same word share it. For 8 or 16 bytes a lane this is the least that any rule of serving parts of
// the warp one after the other can reach.
Cost turns(const std::vector<int64_t>& offsets, int bytes) {
  std::vector<int64_t> words;
  for (int64_t offset : offsets)
    for (int i = 0; i < bytes; i += BANK_BYTES)
      words.push_back((offset + i) / BANK_BYTES);
  const int turns = turns_of(words);
  return {turns, int(words.size() + BANKS - 1) / BANKS};
}

}  // namespace

void Requests::begin() {
  lines_.clear();
  numbers_.clear();
  events_.clear();
  barriers = 0;
}

void Requests::access(const Place& place, size_t bytes, Way way, uint64_t instruction) {
  const auto [found, is_new] = numbers_.try_emplace(instruction, int(lines_.size()));
  if (is_new) {
    Line line{};
    line.instruction = instruction;
    line.array = place.array;
    line.way = way;
    line.bytes = int(bytes);
    lines_.push_back(line);
  }
  const size_t thread = size_t(block.current->number);
  if (events_.size() <= thread) events_.resize(thread + 1);
  events_[thread].push_back({found->second, place.array, place.offset});
}

void Requests::flush(const Memory& memory) {
  std::vector<std::vector<Request>> requests(lines_.size());
  std::vector<size_t> turn(lines_.size());
  for (size_t first = 0; first < events_.size(); first += WARP) {
    for (size_t thread = first; thread < std::min(first + WARP, events_.size()); thread++) {
      std::fill(turn.begin(), turn.end(), 0);
      for (const Event& event : events_[thread]) {
        std::vector<Request>& of_line = requests[event.instruction];
        const size_t k = turn[event.instruction]++;
        if (of_line.size() <= k) of_line.resize(k + 1);
        of_line[k].mask |= 1u << (thread - first);
        of_line[k].array = event.array;
        of_line[k].offsets[thread - first] = event.offset;
      }
    }
    for (size_t i = 0; i < lines_.size(); i++) {
      if (requests[i].empty()) continue;
      for (const Request& request : requests[i]) count(memory, lines_[i], request, int(first / WARP));
      if (memory.arrays[lines_[i].array].space == SHARED) count_merged(lines_[i], int(i), first);
      requests[i].clear();
    }
    for (size_t thread = first; thread < std::min(first + WARP, events_.size()); thread++) events_[thread].clear();
  }
}

void Requests::count(const Memory& memory, Line& line, const Request& request, int warp) {
  std::vector<int64_t> offsets;
  for (int lane = 0; lane < WARP; lane++)
    if (request.mask >> lane & 1) offsets.push_back(request.offsets[lane]);
  const Cost cost = (memory.arrays[request.array].space == GLOBAL ? sectors : turns)(offsets, line.bytes);
  line.requests++;
  line.lanes += __builtin_popcount(request.mask);
  line.transactions += cost.transactions;
  line.least += cost.least;
  if (cost.transactions - cost.least <= line.worst - line.worst_least && line.worst) return;
  line.worst = cost.transactions;
  line.worst_least = cost.least;
  line.worst_warp = warp;
  line.worst_block[0] = int(at_.x), line.worst_block[1] = int(at_.y), line.worst_block[2] = int(at_.z);
  for (int lane = 0; lane < WARP; lane++) line.offsets[lane] = request.mask >> lane & 1 ? request.offsets[lane] : -1;
}

Requests::Chunks Requests::chunks_of(size_t thread, int instruction) const {
  std::vector<int64_t> words;
  for (const Event& event : events_[thread])
    for (int i = 0; event.instruction == instruction && i < lines_[instruction].bytes; i += BANK_BYTES)
      words.push_back((event.offset + i) / BANK_BYTES);
  words.resize(distinct(words));
  Chunks chunks;
  for (int64_t word : words) {
    if (chunks.empty() || chunks.back()[0] / CHUNK_WORDS != word / CHUNK_WORDS) chunks.emplace_back();
    chunks.back().push_back(word);
  }
  return chunks;
}

// Between two barriers a compiler may load each word once, and neighboring ones together: the least that it can reach.
void Requests::count_merged(Line& line, int instruction, size_t first_thread) const {
  std::vector<Chunks> lanes;
  size_t most = 0;
  for (size_t thread = first_thread; thread < std::min(first_thread + WARP, events_.size()); thread++) {
    lanes.push_back(chunks_of(thread, instruction));
    most = std::max(most, lanes.back().size());
  }
  for (size_t k = 0; k < most; k++) {
    std::vector<int64_t> words;
    for (const Chunks& chunks : lanes)
      if (k < chunks.size()) words.insert(words.end(), chunks[k].begin(), chunks[k].end());
    line.merged += turns_of(words);
  }
}

}  // namespace lab
