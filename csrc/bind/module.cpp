#include "areas.hpp"

PYBIND11_MODULE(_core, module) {
  if (PyInterpreterState_Get() != PyInterpreterState_Main())
    throw pybind11::import_error(
        "cnnx: expected the main interpreter, got a sub-interpreter, which numpy does not support");
  module.doc() = "The compiled core of cnnx.";
  module.attr("__version__") = CNNX_VERSION;
  cnnx::bind_targets(module);
  cnnx::bind_layers(module);
  cnnx::bind_network(module);
}
