// CPU targets: which there are, which is active. The environment's choice is read once, when the core is
// imported.
#include <pybind11/stl.h>

#include <cstdlib>

#include "bind.hpp"
#include "dispatch.hpp"

namespace cnnx {

void bind_targets(pybind11::module_& module) {
  const char* const wanted = std::getenv("CNNX_TARGET");
  choose_target(wanted != nullptr ? wanted : "");

  module.def("targets", [] {
    std::vector<std::string> names;
    for (const Target* target : supported_targets()) names.emplace_back(target->name);
    return names;
  });
  module.def("active_target", [] { return active_target().name; });
}

}  // namespace cnnx
