// Which CPU targets exist, which this CPU can run, and which is active.
#pragma once

#include <string>
#include <vector>

#include "kernels.hpp"

namespace cnnx {

// The targets that this CPU can run, the best one last.
std::vector<const Target*> supported_targets();

// The target that the process uses: the best one, or what the environment's CNNX_TARGET names.
const Target& active_target() noexcept;

// Chooses the active target. Throws std::runtime_error if `name` is no target that this CPU can run.
void choose_target(const std::string& name);

}  // namespace cnnx
