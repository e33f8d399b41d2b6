// The areas that module.cpp assembles.
#pragma once

#include <pybind11/pybind11.h>

namespace cnnx {

void bind_layers(pybind11::module_& module);
void bind_network(pybind11::module_& module);
void bind_targets(pybind11::module_& module);

}  // namespace cnnx
