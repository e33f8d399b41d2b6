#include "samples.hpp"

#include "stages/affine.hpp"

namespace cnnx {

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

template void load(Workspace<float>&, const Images<float>&, Index, const double*, double, const Shape&);
template void load(Workspace<double>&, const Images<double>&, Index, const double*, double, const Shape&);

}  // namespace cnnx
