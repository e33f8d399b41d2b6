// What a network's plan is made of: a layer, or several that are computed as one, with its shape, its parameters and
// its place. Stage i reads boundary i of a workspace and writes boundary i + 1.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "../kernels/dispatch.hpp"
#include "../network.hpp"

namespace cnnx {

inline constexpr std::align_val_t cache_line{64};

template <class T>
struct FreeAligned {
  void operator()(T* buffer) const noexcept { ::operator delete[](buffer, cache_line); }
};

template <class T>
using Buffer = std::unique_ptr<T[], FreeAligned<T>>;

// Zeros, from a cache line's start on.
template <class T>
Buffer<T> new_buffer(Index count) {
  const std::size_t bytes = sizeof(T) * static_cast<std::size_t>(count);
  Buffer<T> buffer(static_cast<T*>(::operator new[](bytes, cache_line)));
  std::memset(buffer.get(), 0, bytes);
  return buffer;
}

// From how many samples on packing weights saves more than it costs.
inline constexpr Index worth_packing = 8;

// What one thread computes for one sample. Activations and gradients end in zeros up to a whole block of lanes.
template <class T>
struct Workspace {
  const std::uint8_t* bytes = nullptr;       // the sample's pixels, if they are bytes and used as they are
  bool training = false;                     // whether a backward pass will follow
  std::uint64_t key = 0;                     // of the sample's random numbers
  Buffer<T> source;                          // a sample before it is resampled
  std::vector<std::uint8_t> shifted;         // its bytes after a shift
  std::vector<Buffer<T>> values, gradients;  // one a boundary
  std::vector<Buffer<T>> scratch;            // one a stage
  std::vector<int> foreground_patches;       // of the image
  std::vector<std::uint64_t> foreground_scratch;
  Foreground foreground{};
  Buffer<T> background, d_background;
  std::vector<int> entry_count, entry_offset, entry_start, entry_filter;  // a Conv3x3Stage's sparse gradient
  std::vector<T> entry_gradient, entry_value;
};

template <class T>
class Stage {
 public:
  virtual ~Stage() = default;

  std::size_t place = 0;
  virtual Index outputs() const = 0;
  virtual Index scratch_size() const { return 0; }
  virtual void prepare([[maybe_unused]] Workspace<T>& workspace) const {}

  // The parameters as numpy has them, and the gradient in the stage's own layout, which `unpack_gradient` turns into
  // theirs, one array behind the other.
  virtual std::vector<Slice<T>> parameters() const { return {}; }
  virtual Index gradient_size() const { return 0; }
  virtual void unpack_gradient([[maybe_unused]] T* flat, [[maybe_unused]] const T* gradient) const {}

  // Takes the parameters from numpy's arrays: before a call, and after each update of them.
  virtual void pack([[maybe_unused]] Index samples, [[maybe_unused]] bool training) {}

  virtual void forward(Workspace<T>&) const = 0;
  // Adds the sample's gradient to `gradient`; sets the workspace's gradient of the input, unless this stage is first.
  virtual void backward(Workspace<T>&, T* gradient) const = 0;

  // The article's loop updates after every sample, in the sweep that computes the gradient, on packed parameters. A run
  // of updates may end and go on; only the first begins anew.
  virtual bool can_update() const { return false; }
  virtual void begin_updates([[maybe_unused]] bool anew) { pack(1, true); }
  virtual void backward_update(Workspace<T>&, [[maybe_unused]] T learn_rate) {}
  virtual void end_updates() {}

 protected:
  static const Kernels<T>& kernels() noexcept { return active_target().kernels<T>(); }
  bool is_first() const noexcept { return place == 0; }
  T* input(const Workspace<T>& w) const { return w.values[place].get(); }
  T* output(const Workspace<T>& w) const { return w.values[place + 1].get(); }
  T* d_input(const Workspace<T>& w) const { return w.gradients[place].get(); }
  T* d_output(const Workspace<T>& w) const { return w.gradients[place + 1].get(); }
  T* scratch(const Workspace<T>& w) const { return w.scratch[place].get(); }
};

}  // namespace cnnx
