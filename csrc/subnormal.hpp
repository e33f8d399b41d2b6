// Subnormal numbers are so small that they have fewer digits: below 1.2e-38 for float. Long trainings have many. The
// momentum of a dead unit shrinks in every step, but rounding keeps it above 0. A CPU takes many times as long for them
// as for other numbers.
#pragma once

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace cnnx {

// Until the end of the scope, this thread computes as if subnormal numbers were 0; or, without `are_zero`, with all
// numbers. WebAssembly always computes with all numbers.
class SubnormalsAreZero {
 public:
  explicit SubnormalsAreZero(bool are_zero = true) : before_(mode()) {
    set_mode(are_zero ? before_ | bits : before_ & ~bits);
  }
  ~SubnormalsAreZero() { set_mode(before_); }
  SubnormalsAreZero(const SubnormalsAreZero&) = delete;
  SubnormalsAreZero& operator=(const SubnormalsAreZero&) = delete;

 private:
#if defined(__SSE2__)
  using Mode = unsigned;
  static constexpr Mode bits = 0x8040;  // of MXCSR: results (FTZ) and operands (DAZ)
  static Mode mode() { return _mm_getcsr(); }
  static void set_mode(Mode mode) { _mm_setcsr(mode); }
#elif defined(__aarch64__)
  using Mode = unsigned long;
  static constexpr Mode bits = 1UL << 24;  // of FPCR: results and operands (FZ)
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
