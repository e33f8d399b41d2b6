// CPU targets: which there are, which is active.
#include <pybind11/stl.h>

#include "../kernels/dispatch.hpp"
#include "areas.hpp"

namespace cnnx {

void bind_targets(pybind11::module_& module) {
  active_target();  // an unknown CNNX_TARGET is an error of the import

  module.def("targets", [] {
    std::vector<std::string> names;
    for (const Target& target : supported_targets()) names.emplace_back(target.name);
    return names;
  });
  module.def("active_target", [] { return active_target().name; });
  module.def("_use_target", &use_target, pybind11::arg("name"));  // for tests, which compare targets
}

}  // namespace cnnx
