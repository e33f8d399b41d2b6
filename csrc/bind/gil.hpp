// The interpreter's lock, in threads that may still work when the interpreter has ended.
#pragma once

#include <pybind11/pybind11.h>

#include <chrono>
#include <exception>
#include <optional>
#include <thread>
#include <utility>

#include "../subnormal.hpp"

namespace cnnx {

namespace py = pybind11;

// Returns take(), in which this thread takes the interpreter's lock. If the interpreter has ended, that throws an
// exception that makes the thread exit. The exception must not leave a destructor, must not end in a `catch (...)`, and
// must not drop references without the lock. So the thread sleeps until the process ends.
template <class Take>
auto sleep_if_interpreter_has_ended(const Take& take) {
  try {
    return take();
  } catch (const std::exception&) {
    throw;
  } catch (...) {
    for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
  }
}

// Releases the interpreter's lock, and takes it back at the end of the scope.
class WithoutLock {
 public:
  WithoutLock() : state_(PyEval_SaveThread()) {}
  ~WithoutLock() {
    sleep_if_interpreter_has_ended([&] { PyEval_RestoreThread(state_); });
  }
  WithoutLock(const WithoutLock&) = delete;
  WithoutLock& operator=(const WithoutLock&) = delete;

 private:
  PyThreadState* state_;
};

// Takes the interpreter's lock in any thread, and releases it at the end of the scope. Python computes with subnormal
// numbers, whatever the thread does.
class WithLock {
 public:
  WithLock() {
    sleep_if_interpreter_has_ended([&] { locked_.emplace(); });
  }

  // Calls object.name(arguments...), in which other threads may take the lock.
  template <class... Arguments>
  void call(const py::object& object, const char* name, Arguments&&... arguments) const {
    const py::object method = object.attr(name);
    const py::tuple given = py::make_tuple(std::forward<Arguments>(arguments)...);
    PyObject* const returned =
        sleep_if_interpreter_has_ended([&] { return PyObject_CallObject(method.ptr(), given.ptr()); });
    if (returned == nullptr) throw py::error_already_set();
    Py_DECREF(returned);
  }

 private:
  const SubnormalsAreZero mode_{false};
  std::optional<py::gil_scoped_acquire> locked_;
};

}  // namespace cnnx
