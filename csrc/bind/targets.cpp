// Which CPU targets this CPU can run, and which one is active.
#include <pybind11/stl.h>

#include "../kernels/dispatch.hpp"
#include "areas.hpp"

namespace cnnx {

void bind_targets(pybind11::module_& module) {
  active_target();  // makes the import fail for an unknown CNNX_TARGET

  module.def(
      "targets",
      [] {
        std::vector<std::string> names;
        for (const Target& target : supported_targets()) names.emplace_back(target.name);
        return names;
      },
      "Return the names of the instruction sets that cnnx was compiled for and this CPU has, from the simplest to the "
      "best.");
  module.def(
      "active_target", [] { return active_target().name; },
      "Return the name of the instruction set that computes: the best of `targets()`, unless the environment variable "
      "CNNX_TARGET named another one when cnnx was imported.");
  module.def("_use_target", &use_target, pybind11::arg("name"));  // for tests, which compare targets
}

}  // namespace cnnx
