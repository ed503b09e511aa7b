// The Python module mpitrain._cpu_kernels: one function for each kernel of kernels.h.
//
// A call reads its arrays through the buffer protocol, runs the kernel of the level in use, and returns True, or
// False where the kernel does not cover the arguments (another dtype, not contiguous): the caller then takes NumPy's
// path. Built against Python's stable ABI: one binary for every Python from 3.11 on.
#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h> // before all others, as it asks for

#include "kernels.h"
#include <pthread.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#define WORTH_RELEASING 65536 // bytes; shorter calls keep Python's lock

static const struct {
    const char *name, *kinds, *arguments;
} signatures[NUM_KERNELS] = {
#define K(name, kinds, arguments) {#name, kinds, arguments},
    KERNELS(K)
#undef K
};

static const Level *const levels[] = {
#if defined(__x86_64__)
    &level_avx512, &level_avx2,
#endif
    &level_baseline,
};
#define NUM_LEVELS ((int)(sizeof levels / sizeof *levels))
static const Level *level;
static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER; // kernels share scratch memory and the pool

static int runs_here(const Level *candidate) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    unsigned a, b, features, d; // older compilers do not know f16c by name
    const int f16c = __get_cpuid(1, &a, &b, &features, &d) && (features & bit_F16C);
    const int avx2 = f16c && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (candidate == &level_avx2) return avx2;
    if (candidate == &level_avx512)
        return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
#endif
    return candidate == &level_baseline;
}

// 1: the array fits the kernel, 0: it does not, -1: a Python error
static int open_array(PyObject *object, char kind, Py_buffer *view, Arg *a) {
    const int written = kind >= 'A' && kind <= 'Z', anywhere = kind == 's' || kind == 'S';
    const int layout = anywhere ? PyBUF_STRIDES : PyBUF_ND;
    if (PyObject_GetBuffer(object, view, PyBUF_FORMAT | layout | (written ? PyBUF_WRITABLE : 0))) {
        view->obj = 0;
        const int refused = PyErr_ExceptionMatches(PyExc_BufferError) || PyErr_ExceptionMatches(PyExc_ValueError);
        if (refused) PyErr_Clear(); // not contiguous
        return refused ? 0 : -1;
    }
    const char *formats = "f";
    switch (written ? kind - 'A' + 'a' : kind) {
    case 'd': formats = "d"; break;
    case 'l': formats = sizeof(long) == 8 ? "lq" : "q"; break;
    case 'b': formats = "?B"; break;
    }
    if (!view->format[0] || view->format[1] || !strchr(formats, view->format[0])) return 0;
    a->f = view->buf;
    a->size = view->itemsize ? view->len / view->itemsize : 0;
    a->ndim = view->ndim;
    a->dim = (const long *)view->shape;
    a->stride = (const long *)view->strides;
    return 1;
}

static int open_argument(PyObject *object, char kind, Py_buffer *view, Arg *a) {
    view->obj = 0;
    switch (kind) {
    case 'i':
        a->i = PyLong_AsLong(object);
        return a->i == -1 && PyErr_Occurred() ? -1 : 1;
    case 'x':
        a->x = PyFloat_AsDouble(object);
        return a->x == -1 && PyErr_Occurred() ? -1 : 1;
    case 'o':
    case 'p':
    case 'm':
        kind = kind == 'o' ? 'f' : kind == 'p' ? 'b' : 'l';
        if (object == Py_None) {
            a->f = 0, a->size = a->ndim = 0;
            return 1;
        }
    }
    return open_array(object, kind, view, a);
}

static int run_kernel(Kernel *kernel, const Arg *a, long bytes) {
    PyThreadState *state = 0;
    const int contended = pthread_mutex_trylock(&one_at_a_time);
    if (contended || bytes > WORTH_RELEASING) state = PyEval_SaveThread();
    if (contended) pthread_mutex_lock(&one_at_a_time);
    const int done = kernel(a);
    pthread_mutex_unlock(&one_at_a_time);
    if (state) PyEval_RestoreThread(state);
    return done;
}

static PyObject *call(int number, PyObject *const *objects, Py_ssize_t count) {
    const char *kinds = signatures[number].kinds;
    const Py_ssize_t expected = (Py_ssize_t)strlen(kinds);
    if (count != expected)
        return PyErr_Format(PyExc_TypeError, "%s takes (%s), %zd arguments, not %zd", signatures[number].name,
                            signatures[number].arguments, expected, count);
    Arg a[MAX_ARGUMENTS];
    Py_buffer views[MAX_ARGUMENTS];
    long bytes = 0;
    int state = 1, opened = 0;
    for (; opened < count && state == 1; opened++) {
        state = open_argument(objects[opened], kinds[opened], &views[opened], &a[opened]);
        if (views[opened].obj) bytes += views[opened].len;
    }
    if (state == 1) state = run_kernel(level->kernels[number], a, bytes);
    while (opened--)
        if (views[opened].obj) PyBuffer_Release(&views[opened]);
    return state < 0 ? 0 : PyBool_FromLong(state);
}

#define K(name, kinds, arguments)                                                                  \
    static PyObject *call_##name(PyObject *self, PyObject *const *objects, Py_ssize_t count) {     \
        return call(KERNEL_##name, objects, count);                                                \
    }
KERNELS(K)
#undef K

static PyObject *use_level(PyObject *self, PyObject *name) {
    const char *wanted = PyUnicode_AsUTF8AndSize(name, 0);
    if (!wanted) return 0;
    for (int i = 0; i < NUM_LEVELS; i++)
        if (!strcmp(levels[i]->name, wanted) && runs_here(levels[i])) {
            level = levels[i];
            Py_RETURN_TRUE;
        }
    Py_RETURN_FALSE;
}

static PyObject *level_in_use(PyObject *self, PyObject *none) {
    return PyUnicode_FromString(level->name);
}

static PyObject *level_names(PyObject *self, PyObject *none) {
    PyObject *names = PyList_New(0);
    for (int i = 0; names && i < NUM_LEVELS; i++)
        if (runs_here(levels[i])) {
            PyObject *name = PyUnicode_FromString(levels[i]->name);
            if (!name || PyList_Append(names, name)) Py_CLEAR(names);
            Py_XDECREF(name);
        }
    return names;
}

static PyObject *use_threads(PyObject *self, PyObject *count) {
    const long threads = PyLong_AsLong(count);
    if (threads == -1 && PyErr_Occurred()) return 0;
    set_num_threads((int)threads);
    Py_RETURN_NONE;
}

static PyObject *threads_in_use(PyObject *self, PyObject *none) {
    return PyLong_FromLong(num_threads());
}

static PyMethodDef methods[] = {
#define K(name, kinds, arguments) {#name, (PyCFunction)(void (*)(void))call_##name, METH_FASTCALL, "(" arguments ")"},
    KERNELS(K)
#undef K
    {"use_level", use_level, METH_O, "Use the kernels of that level; False where this machine cannot."},
    {"level", level_in_use, METH_NOARGS, "Return the name of the level in use."},
    {"levels", level_names, METH_NOARGS, "Return the names of all levels that run here, the fastest first."},
    {"use_threads", use_threads, METH_O, "Let kernels run on that many threads."},
    {"threads", threads_in_use, METH_NOARGS, "Return the number of threads that kernels may use."},
    {0},
};

static struct PyModuleDef module = {
    .m_base = PyModuleDef_HEAD_INIT, .m_name = "_cpu_kernels", .m_doc = "Kernels in C for NumPy arrays (kernels/cpu).",
    .m_size = -1, .m_methods = methods,
};

PyMODINIT_FUNC PyInit__cpu_kernels(void) {
    for (int i = NUM_LEVELS - 1; i >= 0; i--)
        if (runs_here(levels[i])) level = levels[i];
    PyObject *made = PyModule_Create(&module);
    if (made && PyModule_AddIntConstant(made, "BUILD", BUILD)) Py_CLEAR(made);
    return made;
}
