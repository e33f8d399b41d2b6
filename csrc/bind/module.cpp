#include "areas.hpp"

PYBIND11_MODULE(_core, module) {
  module.doc() = "The compiled core of cnnx.";
  module.attr("__version__") = CNNX_VERSION;
  cnnx::bind_targets(module);
  cnnx::bind_layers(module);
  cnnx::bind_network(module);
}
