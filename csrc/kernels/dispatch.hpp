// Which CPU targets this build has and this CPU can run, and which of them is active.
#pragma once

#include <string>
#include <vector>

#include "kernels.hpp"

namespace cnnx {

// The targets that this CPU can run, the best one last.
const std::vector<Target>& supported_targets();

// The target that the process uses: the best one, or the one that the environment's CNNX_TARGET named at the first
// call. That call throws std::runtime_error if CNNX_TARGET names no target that this CPU can run.
const Target& active_target();

// Makes the target of that name the one that the process uses from now on, so that one process can compare targets.
// Nothing may compute meanwhile, and what a network has packed for one target is of no use to another.
void use_target(const std::string& name);

}  // namespace cnnx
