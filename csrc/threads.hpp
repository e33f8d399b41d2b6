// The only file that starts threads. They live for one call and none outlives it, so fork and the interpreter's exit
// need no special care. There is no std::jthread and no std::barrier here, because libc++ has them only since versions
// 20 and 11.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <mutex>
#include <vector>
#if !defined(__wasm__)
#include <condition_variable>
#include <shared_mutex>
#include <thread>
#endif

#include "subnormal.hpp"

namespace cnnx {

// A loop that the threads of a team share. Each has its own share of the numbers, the same one in every loop of that
// length, so that what belongs to them stays in its core's cache. Then it helps the others.
class SharedLoop {
 public:
  explicit SharedLoop(int threads) : shares_(static_cast<std::size_t>(threads)) {}

  // Calls body(number) for numbers from 0 to count - 1 that no other thread has taken.
  template <class Body>
  void take(int thread, std::ptrdiff_t count, const Body& body) {
    take(thread, count, 1, [&](std::ptrdiff_t number, std::ptrdiff_t) { body(number); });
  }
  // Calls body(first number, how many) for up to `at_once` numbers at a time.
  template <class Body>
  void take(int thread, std::ptrdiff_t count, std::ptrdiff_t at_once, const Body& body) {
    const auto shares = static_cast<std::ptrdiff_t>(shares_.size());
    for (std::ptrdiff_t k = 0; k < shares; ++k) {
      const std::ptrdiff_t share = (thread + k) % shares;
      const std::ptrdiff_t first = count * share / shares, end = count * (share + 1) / shares;
      auto& taken = shares_[static_cast<std::size_t>(share)].taken;
      for (std::ptrdiff_t number; (number = first + taken.fetch_add(at_once)) < end;)
        body(number, std::min(at_once, end - number));
    }
  }
  // The number that another thread has probably just done when a thread takes `number`: the one before it, in the next
  // share. Returns -1 if there is none. It never returns the last number of a share.
  std::ptrdiff_t done_beside(std::ptrdiff_t number, std::ptrdiff_t count) const noexcept {
    const auto shares = static_cast<std::ptrdiff_t>(shares_.size());
    const auto begin = [&](std::ptrdiff_t share) { return count * share / shares; };
    std::ptrdiff_t share = shares - 1;
    while (begin(share) > number) --share;
    const std::ptrdiff_t next = (share + 1) % shares, done = begin(next) + number - begin(share) - 1;
    return shares > 1 && done >= begin(next) && done + 1 < begin(next + 1) ? done : -1;
  }
  // Before the next loop, while the threads meet.
  void restart() noexcept {
    for (auto& share : shares_) share.taken = 0;
  }

 private:
  struct Share {
    std::atomic<std::ptrdiff_t> taken{0};
    char rest_of_line[64 - sizeof(taken)];  // threads wait for each other's cache lines
  };
  std::vector<Share> shares_;
};

#if defined(__wasm__)  // whose standard library has no threads

struct Mutex {
  void lock() noexcept {}
  void unlock() noexcept {}
};
using SharedMutex = Mutex;
struct SharedLock {
  explicit SharedLock(SharedMutex&) noexcept {}
  void unlock() noexcept {}
};

struct Barrier {
  template <class Alone>
  void meet(Alone&& alone) {
    alone();
  }
};

template <class Body>
void run_team(int, const Body& body) {
  Barrier barrier;
  body(0, barrier);
}

#else

using Mutex = std::mutex;

// A std::shared_mutex in which a writer waits only for readers that came before it. The C library's lets new
// readers pass a waiting writer, so readers that take turns could keep the writer waiting for ever.
class SharedMutex {
 public:
  void lock() {
    const std::lock_guard turn(turn_);
    mutex_.lock();
  }
  void unlock() { mutex_.unlock(); }
  void lock_shared() {
    const std::lock_guard turn(turn_);
    mutex_.lock_shared();
  }
  void unlock_shared() { mutex_.unlock_shared(); }

 private:
  Mutex turn_;  // held by a writer while it waits
  std::shared_mutex mutex_;
};
using SharedLock = std::shared_lock<SharedMutex>;

// Where the threads of a team meet.
class Barrier {
 public:
  // Sets the number of threads. Called before the first one arrives.
  void expect(int count) { count_ = waiting_ = count; }

  // Returns when all threads have arrived. The last one calls `alone` before the others go on.
  template <class Alone>
  void meet(Alone&& alone) {
    std::unique_lock lock(mutex_);
    const bool phase = phase_;
    if (--waiting_ > 0) {
      lock.unlock();
      // A thread that sleeps takes tens of microseconds to wake up, so it first waits about that long.
      for (int turn = 0; turn < 100 && phase_ == phase; ++turn) std::this_thread::yield();
      lock.lock();
      all_here_.wait(lock, [&] { return phase_ != phase; });
      return;
    }
    alone();
    waiting_ = count_;
    phase_ = !phase;
    all_here_.notify_all();
  }

 private:
  Mutex mutex_;
  std::condition_variable all_here_;
  int count_ = 0, waiting_ = 0;
  std::atomic<bool> phase_ = false;
};

// Calls body(number of the thread, barrier) in at most `count` threads, one of them the caller's, and returns when all
// are done. If the system gives fewer threads, fewer do the work. The body must not throw.
template <class Body>
void run_team(int count, const Body& body) {
  const auto work = [&](int thread, Barrier& barrier) {
    const SubnormalsAreZero mode;  // not every system gives a new thread the mode of the one that starts it
    body(thread, barrier);
  };
  Barrier barrier;
  if (count == 1) {
    barrier.expect(1);
    work(0, barrier);
    return;
  }
  std::vector<std::thread> others;
  others.reserve(static_cast<std::size_t>(count) - 1);
  Mutex all_there;  // locked until the number of threads is known
  std::unique_lock starting(all_there);
  int started = 1;
  try {
    for (; started < count; ++started)
      others.emplace_back([&, thread = started] {
        {
          const std::lock_guard lock(all_there);
        }
        work(thread, barrier);
      });
  } catch (const std::exception&) {  // the system has no more threads, or no memory for one
  }
  barrier.expect(started);
  starting.unlock();
  work(0, barrier);
  for (auto& other : others) other.join();
}

#endif

}  // namespace cnnx
