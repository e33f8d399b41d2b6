#include "samples.hpp"

#include <algorithm>
#include <vector>

#include "stages/affine.hpp"
#include "threads.hpp"

namespace cnnx {

template <class T>
ValueRange<T> range_of(const T* values, Index count, int threads) {
  constexpr Index piece = (Index{1} << 20) / sizeof(T);  // starting a thread for less would take longer
  const Index pieces = (count + piece - 1) / piece;
  threads = static_cast<int>(std::min<Index>(threads, pieces));
  SharedLoop loop(threads);
  std::vector<ValueRange<T>> found(static_cast<std::size_t>(threads), {values[0], values[0], true});
  const auto add = [](ValueRange<T>& sum, const ValueRange<T>& range) {
    sum = {std::min(sum.least, range.least), std::max(sum.most, range.most), sum.is_finite && range.is_finite};
  };
  run_team(threads, [&](int thread, Barrier&) {
    loop.take(thread, pieces, [&](Index number) {
      const Index first = piece * number;
      add(found[static_cast<std::size_t>(thread)],
          active_target().kernels<T>().range_of(values + first, std::min(piece, count - first)));
    });
  });
  for (const auto& of_thread : found) add(found[0], of_thread);
  return found[0];
}

template <class T>
void load(Workspace<T>& w, const Images<T>& images, Index sample, const double* map, double background,
          const Shape& shape) {
  const Index count = shape.count();
  const bool moves = map != nullptr, shifts = moves && is_shift(map);
  T* const image = w.values.front().get();
  T* const read = moves ? w.source.get() : image;
  w.passes.front().input = image;
  w.sample.bytes = nullptr;
  if (images.bytes != nullptr) {
    const std::uint8_t* bytes = images.bytes + sample * count;
    const bool stay_bytes = !moves || (shifts && background == -0.5);  // which is byte 0
    if (shifts && stay_bytes) {
      shift<std::uint8_t>(w.shifted.data(), bytes, shape, map, 0);
      bytes = w.shifted.data();
    }
    if (stay_bytes) w.sample.bytes = bytes;
    active_target().kernels<T>().scale_pixels(stay_bytes ? image : read, bytes, count);
    if (stay_bytes) return;
  } else {
    const T* const values = images.values + sample * count;
    const bool is_padded = whole_lines<T>(count) == count;
    if (!moves && is_padded && (is_aligned(values) || !w.aligns_images || !w.sample.training)) {
      w.passes.front().input = values;
      return;
    }
    copy(read, values, count);
  }
  if (shifts)
    shift<T>(image, read, shape, map, static_cast<T>(background));
  else if (moves)
    resample<T>(image, read, shape, map, static_cast<T>(background));
}

template ValueRange<float> range_of(const float*, Index, int);
template ValueRange<double> range_of(const double*, Index, int);
template void load(Workspace<float>&, const Images<float>&, Index, const double*, double, const Shape&);
template void load(Workspace<double>&, const Images<double>&, Index, const double*, double, const Shape&);

}  // namespace cnnx
