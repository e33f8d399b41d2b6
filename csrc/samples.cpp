#include "samples.hpp"

#include "stages/affine.hpp"

namespace cnnx {

template <class T>
void load(Workspace<T>& w, const Images<T>& images, Index sample, const double* map, const Shape& shape) {
  const Index count = shape.count();
  const bool shifts = map != nullptr && is_shift(map), resamples = map != nullptr && !shifts;
  T* const image = w.values.front().get();
  T* const loaded = resamples ? w.source.get() : image;
  w.sample.bytes = nullptr;
  if (images.bytes != nullptr) {
    const std::uint8_t* bytes = images.bytes + sample * count;
    if (shifts) {  // bytes stay bytes
      shift<std::uint8_t>(w.shifted.data(), bytes, shape.height, shape.width, map, 0);
      bytes = w.shifted.data();
    }
    active_target().kernels<T>().scale_pixels(loaded, bytes, count);
    if (!resamples) w.sample.bytes = bytes;
  } else {
    const T* const values = images.values + sample * count;
    if (shifts)
      shift<T>(image, values, shape.height, shape.width, map, T{-0.5});
    else
      copy(loaded, values, count);
  }
  if (resamples) resample<T>(image, loaded, shape.height, shape.width, map, T{-0.5});
}

template void load(Workspace<float>&, const Images<float>&, Index, const double*, const Shape&);
template void load(Workspace<double>&, const Images<double>&, Index, const double*, const Shape&);

}  // namespace cnnx
