#include "dispatch.hpp"

#include <stdexcept>

namespace cnnx {

#if defined(CNNX_TARGETS_X86)
extern const Target target_baseline, target_avx2, target_avx512;
static constexpr const Target* all_targets[] = {&target_baseline, &target_avx2, &target_avx512};
#else
extern const Target target_baseline;
static constexpr const Target* all_targets[] = {&target_baseline};
#endif

static const Target* active = nullptr;

std::vector<const Target*> supported_targets() {
  std::vector<const Target*> found;
  for (const Target* target : all_targets)
    if (target->supported()) found.push_back(target);
  return found;
}

const Target& active_target() noexcept {
  return *active;
}

void choose_target(const std::string& name) {
  const auto targets = supported_targets();
  if (name.empty()) {
    active = targets.back();
    return;
  }
  std::string names;
  for (const Target* target : targets) {
    if (name == target->name) {
      active = target;
      return;
    }
    if (!names.empty()) names += ", ";
    names += target->name;
  }
  throw std::runtime_error("CNNX_TARGET: expected one of " + names + " on this CPU, got '" + name + "'");
}

}  // namespace cnnx
