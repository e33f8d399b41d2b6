// The Python module cnnx._core.
#include "areas.hpp"

PYBIND11_MODULE(_core_of_main_interpreter, module) {
  module.doc() = "The compiled core of cnnx.";
  module.attr("__version__") = CNNX_VERSION;
  cnnx::bind_targets(module);
  cnnx::bind_layers(module);
  cnnx::bind_network(module);
}

// numpy does not support sub-interpreters, and pybind11 would hang in the first one that imports the core.
extern "C" PYBIND11_EXPORT PyObject* PyInit__core() {
  if (PyInterpreterState_Get() == PyInterpreterState_Main()) return PyInit__core_of_main_interpreter();
  PyErr_SetString(PyExc_ImportError, "cnnx: expected the main interpreter, got a sub-interpreter");
  return nullptr;
}
