// The one file that knows threads. They live for one call: none outlives it, so neither fork nor the interpreter's exit
// ever meets one. Without std::jthread and std::barrier, which libc++ has only since version 20 and 11.
#pragma once

#include <condition_variable>
#include <exception>
#include <mutex>
#include <shared_mutex>
#include <thread>
#include <vector>

namespace cnnx {

// A std::shared_mutex in which a writer waits for the readers that came before it and for no others: those of the C
// library let new readers pass, and readers that take turns would keep a writer waiting for ever.
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
  std::mutex turn_;  // held by a writer while it waits
  std::shared_mutex mutex_;
};

// Where the threads of a team meet.
class Barrier {
 public:
  // Before the first thread arrives.
  void expect(int count) { count_ = waiting_ = count; }

  // Returns when all threads have arrived. The last one calls `alone` before the others go on.
  template <class Alone>
  void meet(Alone&& alone) {
    std::unique_lock lock(mutex_);
    const bool phase = phase_;
    if (--waiting_ > 0) {
      all_here_.wait(lock, [&] { return phase_ != phase; });
      return;
    }
    alone();
    waiting_ = count_;
    phase_ = !phase_;
    all_here_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable all_here_;
  int count_ = 0, waiting_ = 0;
  bool phase_ = false;
};

// Calls body(number of the thread, barrier) in at most `count` threads, the caller's among them, and returns when all
// are done. Where the system gives fewer threads, fewer do the work. The body does not throw.
template <class Body>
void run_team(int count, const Body& body) {
  Barrier barrier;
  if (count == 1) {
    barrier.expect(1);
    body(0, barrier);
    return;
  }
  std::vector<std::thread> others;
  others.reserve(static_cast<std::size_t>(count) - 1);
  std::mutex all_there;  // held until it is known how many threads there are
  std::unique_lock starting(all_there);
  int started = 1;
  try {
    for (; started < count; ++started)
      others.emplace_back([&, thread = started] {
        {
          const std::lock_guard lock(all_there);
        }
        body(thread, barrier);
      });
  } catch (const std::exception&) {  // no more threads to be had, or no memory for one
  }
  barrier.expect(started);
  starting.unlock();
  body(0, barrier);
  for (auto& other : others) other.join();
}

}  // namespace cnnx
