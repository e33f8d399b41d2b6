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
      "Return the instruction sets that this build and this CPU have, from the simplest to the best.");
  module.def(
      "active_target", [] { return active_target().name; },
      "Return the instruction set in use: the last of `targets()`, or the one that CNNX_TARGET names.");
  module.def("_use_target", &use_target, pybind11::arg("name"));  // for tests, which compare targets
}

}  // namespace cnnx
