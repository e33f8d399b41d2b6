// Subnormal numbers are those too small for all digits of their type: below 1.2e-38 for float. Long trainings have
// many. What a dead unit has left of its momentum shrinks in every step, and rounding keeps it from becoming 0. A CPU
// takes a hundred times as long for them as for others.
#pragma once

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace cnnx {

// Until the end of the scope, this thread computes as if subnormal numbers were 0.
class SubnormalsAreZero {
 public:
  SubnormalsAreZero() : before_(mode()) { set_mode(before_ | bits); }
  ~SubnormalsAreZero() { set_mode(before_); }
  SubnormalsAreZero(const SubnormalsAreZero&) = delete;
  SubnormalsAreZero& operator=(const SubnormalsAreZero&) = delete;

 private:
#if defined(__SSE2__)
  using Mode = unsigned;
  static constexpr Mode bits = 0x8040;  // MXCSR: flush results to zero, and take operands for zeros
  static Mode mode() { return _mm_getcsr(); }
  static void set_mode(Mode mode) { _mm_setcsr(mode); }
#elif defined(__aarch64__)
  using Mode = unsigned long;
  static constexpr Mode bits = 1UL << 24;  // FPCR: both
  static Mode mode() {
    Mode mode;
    asm volatile("mrs %0, fpcr" : "=r"(mode));
    return mode;
  }
  static void set_mode(Mode mode) { asm volatile("msr fpcr, %0" : : "r"(mode)); }
#else
  using Mode = unsigned;
  static constexpr Mode bits = 0;
  static Mode mode() { return 0; }
  static void set_mode(Mode) {}
#endif

  const Mode before_;
};

}  // namespace cnnx
