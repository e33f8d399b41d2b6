#include "dispatch.hpp"

#include <atomic>
#include <cstdlib>
#include <stdexcept>

namespace cnnx {

// Each target's build of target.cpp defines its own.
namespace baseline {
void fill(Kernels<float>&, Kernels<double>&);
}
namespace avx2 {
void fill(Kernels<float>&, Kernels<double>&);
}
namespace avx512 {
void fill(Kernels<float>&, Kernels<double>&);
}

namespace {

// A target's build of the kernels. `fill` and the kernels may be called only if `supported` returns true.
struct Build {
  const char* name;
  bool (*supported)();
  void (*fill)(Kernels<float>&, Kernels<double>&);
};

// The best one last.
constexpr Build builds[] = {
    {"baseline", [] { return true; }, baseline::fill},
#if defined(CNNX_HAS_AVX2)
    {"avx2",
     [] {
       return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
              __builtin_cpu_supports("bmi2");
     },
     avx2::fill},
#endif
#if defined(CNNX_HAS_AVX512)
    {"avx512",
     [] {
       return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
              __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
              __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
     },
     avx512::fill},
#endif
};

std::vector<Target> make_targets() {
  std::vector<Target> targets;
  for (const Build& build : builds)
    if (build.supported()) {
      targets.push_back({build.name, {}, {}});
      build.fill(targets.back().kernels_float32, targets.back().kernels_float64);
    }
  return targets;
}

const Target& chosen(const std::string& name) {
  const auto& targets = supported_targets();
  if (name.empty()) return targets.back();
  std::string names;
  for (const Target& target : targets) {
    if (name == target.name) return target;
    if (!names.empty()) names += ", ";
    names += target.name;
  }
  throw std::runtime_error("CNNX_TARGET: expected one of " + names + " on this CPU, got '" + name + "'");
}

std::atomic<const Target*>& active() {
  static std::atomic<const Target*> target = [] {
    const char* const wanted = std::getenv("CNNX_TARGET");
    return &chosen(wanted != nullptr ? wanted : "");
  }();
  return target;
}

}  // namespace

const std::vector<Target>& supported_targets() {
  // Never destroyed, because threads may still call kernels while the process ends.
  static const auto& targets = *new const std::vector<Target>(make_targets());
  return targets;
}

const Target& active_target() {
  return *active().load(std::memory_order_relaxed);
}

void use_target(const std::string& name) {
  active().store(&chosen(name));
}

}  // namespace cnnx
