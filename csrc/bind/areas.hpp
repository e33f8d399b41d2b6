// The parts of the Python module, which module.cpp puts together.
#pragma once

#include <pybind11/pybind11.h>

namespace cnnx {

void bind_layers(pybind11::module_& module);
void bind_network(pybind11::module_& module);
void bind_targets(pybind11::module_& module);

}  // namespace cnnx
