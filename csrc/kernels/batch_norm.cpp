// Batch normalisation (Ioffe and Szegedy, 2015, algorithm 1), and a ReLU and a MaxPool2 after it, on one sample
// x (height, width, channels). Each channel c has a mean m and a variance v, of the batch in training and running ones
// elsewhere:
//
//   inverse = 1 / sqrt(v + eps),   factor = scale * inverse,   shift = offset - m * factor
//   y = factor * x + shift                            which is scale * (x - m) * inverse + offset
//   d_scale = sum of  d_y * (x - m) * inverse,   d_offset = sum of  d_y
//   d_x = factor * d_y - (d_mean + d_slope * (x - m))
//
// The batch's mean and variance depend on x, too. This is what d_mean and d_slope are for: with n values of a channel
// in the batch,  d_mean = factor * d_offset / n  and  d_slope = factor * inverse * d_scale / n.
//
// Pooling comes first, because it needs no statistics: the largest y of a window is that of the largest x if `scale` is
// positive, of the smallest x if it is negative, and of any x if it is 0. The passes after it read a quarter of x.
//
// Channels are in the lanes, and pixels are added in one order, so all targets compute the same sums.
#include "max_pool2.hpp"
#include "target.hpp"

namespace cnnx {
namespace {

inline double square_root(double x) {
  return __builtin_sqrt(x);
}

// The sum over a sample's pixels of term(pixel), for one register of channels. Even and odd pixels are added apart,
// because each addition waits for the one before it in the same sum.
template <class V, class Term>
V sum_over(Index pixels, Term&& term) {
  V even{}, odd{};
  Index i = 0;
  for (; i + 1 < pixels; i += 2) {
    even += term(i);
    odd += term(i + 1);
  }
  if (i < pixels) even += term(i);
  return even + odd;
}

// The mean of a sample's channels, and the sum of the squared distances from it.
template <class T>
void batch_norm_moments(T* mean, T* squares, const T* input, const BatchNormShape& s) noexcept {
  const Index pixels = Index{s.height} * s.width, channels = s.channels;
  for_channel_tiles<T, 1>(s.channels, [&](auto tile, int first, int count) {
    using V = typename decltype(tile)::V;
    const auto x = [&](Index pixel) { return tile.read(input + first + pixel * channels, count); };
    const V m = sum_over<V>(pixels, x) / static_cast<T>(pixels);
    const V distances = sum_over<V>(pixels, [&](Index pixel) {
      const V distance = x(pixel) - m;
      return distance * distance;
    });
    tile.write(mean + first, m, count);
    tile.write(squares + first, distances, count);
  });
}

// Adds term(sample) over a batch as ShardedBatch says.
template <class Term>
double sum_over_batch(const ShardedBatch& batch, Term&& term) {
  double sums[most_shards] = {};
  for (Index shard = 0; shard < batch.shards; ++shard) {
    double sum = 0;
    for (Index i = batch.start(shard); i < batch.start(shard + 1); ++i) sum = term(i, sum);
    sums[shard] = sum;
  }
  for (Index step = 1; step < batch.shards; step *= 2)
    for (Index shard = 0; shard < batch.shards; shard += 2 * step) sums[shard] += sums[shard + step];
  return sums[0];
}

template <class T>
void set_values(const BatchNormValues<T>& values, int c, double mean, double variance, const BatchNormLimits& limits) {
  const double inverse = 1 / square_root(variance + limits.eps);
  values.mean[c] = static_cast<T>(mean);
  values.inverse[c] = static_cast<T>(inverse);
  values.factor[c] = static_cast<T>(static_cast<double>(values.scale[c]) * inverse);
  values.shift[c] =
      static_cast<T>(fused(-mean, static_cast<double>(values.factor[c]), static_cast<double>(values.offset[c])));
}

// Takes the running mean and variance. Sets all but d_mean and d_slope.
template <class T>
void batch_norm_take_running(const BatchNormValues<T>& values, const BatchNormLimits& limits, int channels) noexcept {
  for (int c = 0; c < channels; ++c)
    set_values(values, c, static_cast<double>(values.running_mean[c]), static_cast<double>(values.running_var[c]),
               limits);
}

// Takes the mean and the variance of a batch from its samples' moments, and moves the running ones towards them.
// `moments` has a row for each sample, `stride` long: the means, and from moments[padded_channels] on the squares. The
// running variance is the unbiased one, with n - 1 for n.
template <class T>
void batch_norm_take_batch(const BatchNormValues<T>& values, const T* moments, Index stride, const ShardedBatch& batch,
                           const BatchNormLimits& limits, const BatchNormShape& s) noexcept {
  const double pixels = double(s.height) * s.width, count = pixels * static_cast<double>(batch.samples);
  const auto move = [&](T& running, double to) {
    running = static_cast<T>(fused(limits.momentum, static_cast<double>(running), (1 - limits.momentum) * to));
  };
  for (int c = 0; c < s.channels; ++c) {
    const T *const means = moments + c, *const squares = means + padded_channels<T>(s.channels);
    const double mean = sum_over_batch(batch, [&](Index i, double sum) { return sum + double(means[i * stride]); }) /
                        static_cast<double>(batch.samples);
    const double distances = sum_over_batch(batch, [&](Index i, double sum) {
      const double distance = static_cast<double>(means[i * stride]) - mean;
      return fused(pixels * distance, distance, sum + static_cast<double>(squares[i * stride]));
    });
    set_values(values, c, mean, distances / count, limits);
    move(values.running_mean[c], mean);
    move(values.running_var[c], distances / (count - 1));
  }
}

// Sets d_mean and d_slope. Each shard's gradient has d_scale, and from [padded_channels] on d_offset.
template <class T>
void batch_norm_take_gradient(const BatchNormValues<T>& values, const T* const* shards, Index at,
                              const ShardedBatch& batch, const BatchNormShape& s) noexcept {
  const double count = double(s.height) * s.width * static_cast<double>(batch.samples);
  const ShardedBatch each{batch.shards, batch.shards};
  for (int c = 0; c < s.channels; ++c) {
    const auto total = [&](Index where) {
      return sum_over_batch(each, [&](Index i, double sum) { return sum + static_cast<double>(shards[i][where]); });
    };
    const double factor = static_cast<double>(values.factor[c]) / count;
    values.d_mean[c] = static_cast<T>(factor * total(at + padded_channels<T>(s.channels) + c));
    values.d_slope[c] = static_cast<T>(factor * static_cast<double>(values.inverse[c]) * total(at + c));
  }
}

// What a channel's values are multiplied by, for one register of channels. Whether a ReLU follows is a mask and not a
// template parameter: compiling these passes once takes long enough.
template <class Tile>
struct Channels {
  using V = typename Tile::V;
  using Mask = decltype(V{} > V{});
  V mean, factor, shift, d_mean, d_slope;
  Mask with_relu;

  template <class T>
  Channels(const BatchNormValues<T>& values, int at, int count, bool relu)
      : mean(Tile::read(values.mean + at, count)),
        factor(Tile::read(values.factor + at, count)),
        shift(Tile::read(values.shift + at, count)),
        d_mean(Tile::read(values.d_mean + at, count)),
        d_slope(Tile::read(values.d_slope + at, count)),
        with_relu(Mask{} - relu) {}

  V y(const V& x) const { return factor * x + shift; }
  V output(const V& y) const { return (V)(~((y <= 0) & with_relu) & (Mask)y); }
  V d_y(const V& d_output, const V& y) const { return (V)(((y > 0) | ~with_relu) & (Mask)d_output); }
  V d_input(const V& x, const V& d_y) const { return factor * d_y - (d_mean + d_slope * (x - mean)); }
};

// The four pixels of a window: their offsets from the first, in numbers.
struct Window {
  explicit Window(const BatchNormShape& s)
      : offset{0, s.channels, Index{s.width} * s.channels, Index{s.width + 1} * s.channels} {}
  Index offset[4];
};

// Calls body(index of the window's first pixel, index of its output) for all windows.
template <class Body>
void for_windows(const BatchNormShape& s, Body&& body) {
  Index out = 0;
  for (int y = 0; y + 1 < s.height; y += 2)
    for (int x = 0; x + 1 < s.width; x += 2, out += s.channels) body((Index{y} * s.width + x) * s.channels, out);
}

// Calls body(index of a pixel) for the pixels that no window has.
template <class Body>
void for_unread(const BatchNormShape& s, Body&& body) {
  if (s.width % 2 != 0)
    for (int y = 0; y < s.height; ++y) body((Index{y + 1} * s.width - 1) * s.channels);
  if (s.height % 2 != 0)
    for (int x = 0; x < s.width - s.width % 2; ++x) body((Index{s.height - 1} * s.width + x) * s.channels);
}

template <class V>
V largest_of(const V (&y)[4]) {
  return max_or_nan(max_or_nan(y[0], y[1]), max_or_nan(y[2], y[3]));
}

// In the passes below, the channels of a pixel or a window follow each other, because memory is read fastest in order.

template <class T>
void batch_norm_pool(const PooledNorm<T>& pooled, const T* input, const T* scale, const BatchNormShape& s) noexcept {
  const Window window(s);
  const bool all_ties = s.ties == Ties::all;
  for_windows(s, [&](Index in, Index out) {
    for_channel_tiles<T, 1>(s.channels, [&](auto tile, int first, int lanes) {
      using V = typename decltype(tile)::V;
      using Mask = decltype(V{} > V{});
      const V by = tile.read(scale + first, lanes), one = all<V>(T{1});
      const V direction = (V)(((by > 0) & (Mask)one) | ((by < 0) & (Mask)(-one)));
      V x[4], y[4];
      for (int q = 0; q < 4; ++q) {
        x[q] = tile.read(input + in + window.offset[q] + first, lanes);
        y[q] = direction * x[q];
      }
      const V largest = largest_of(y);
      const auto winners = winners_of(y, largest, s.ties);
      // Where the scale is 0, the mean of the winners gives the same d_scale as each of them.
      const V any = all_ties ? (x[0] + x[1] + (x[2] + x[3])) / 4 : x[0];
      tile.write(pooled.values + out + first, by == 0 ? any : direction * largest, lanes);
      tile.write(pooled.winners + out + first, (V)winners, lanes);
    });
  });
}

template <class T>
void batch_norm_forward(T* output, const T* input, const BatchNormValues<T>& values, const BatchNormShape& s) noexcept {
  const Index count = Index{s.height} * s.width * s.channels;
  for (Index at = 0; at < count; at += s.channels)
    for_channel_tiles<T, 1>(s.channels, [&](auto tile, int first, int lanes) {
      const Channels<decltype(tile)> channels(values, first, lanes, s.relu);
      const auto y = channels.y(tile.read(input + at + first, lanes));
      tile.write(output + at + first, channels.output(y), lanes);
    });
}

template <class T>
void batch_norm_sums(T* sums, const T* d_output, const T* input, const T* winners, const BatchNormValues<T>& values,
                     const BatchNormShape& s) noexcept {
  const Index count = Index{s.height} * s.width * s.channels;
  for_channel_tiles<T, 4>(s.channels, [&](auto tile, int first, int lanes) {
    using Part = Tile<T, sizeof(typename decltype(tile)::V), 1, tile.partial>;
    using V = typename Part::V;
    V d_scale[tile.vectors] = {}, d_offset[tile.vectors] = {};
    const auto for_parts = [&](auto body) {
      for (int v = 0; v < tile.vectors; ++v) {
        const int at = first + v * tile.lanes;
        body(Channels<Part>(values, at, lanes, s.relu), at, v);
      }
    };
    for (Index pixel = 0; pixel < count; pixel += s.channels)
      for_parts([&](const auto& channels, int at, int v) {
        const V x = Part::read(input + pixel + at, lanes);
        V d_y = channels.d_y(Part::read(d_output + pixel + at, lanes), channels.y(x));
        if (winners != nullptr) {
          const V of_window = Part::read(winners + pixel + at, lanes);
          V given[4];
          for (int q = 0; q < 4; ++q) given[q] = given_to(q, of_window, d_y);
          d_y = given[0] + given[1] + (given[2] + given[3]);
        }
        hide(d_y);  // otherwise GCC may compute the product below in both branches, apart from its sum
        d_scale[v] += d_y * (x - channels.mean);
        d_offset[v] += d_y;
      });
    for_parts([&](const auto&, int at, int v) {
      Part::write(sums + at, d_scale[v] * Part::read(values.inverse + at, lanes), lanes);
      Part::write(sums + padded_channels<T>(s.channels) + at, d_offset[v], lanes);
    });
  });
}

template <class T>
void batch_norm_backward(T* d_input, const T* d_output, const T* input, const PooledNorm<T>& pooled,
                         const BatchNormValues<T>& values, const BatchNormShape& s) noexcept {
  const Window window(s);
  const Index count = Index{s.height} * s.width * s.channels;
  if (!s.pool) {
    for (Index pixel = 0; pixel < count; pixel += s.channels)
      for_channel_tiles<T, 1>(s.channels, [&](auto tile, int first, int lanes) {
        const Channels<decltype(tile)> channels(values, first, lanes, s.relu);
        const auto x = tile.read(input + pixel + first, lanes);
        const auto d_y = channels.d_y(tile.read(d_output + pixel + first, lanes), channels.y(x));
        tile.write(d_input + pixel + first, channels.d_input(x, d_y), lanes);
      });
    return;
  }
  for_windows(s, [&](Index in, Index out) {
    for_channel_tiles<T, 1>(s.channels, [&](auto tile, int first, int lanes) {
      const Channels<decltype(tile)> channels(values, first, lanes, s.relu);
      const auto largest = channels.y(tile.read(pooled.values + out + first, lanes));
      const auto d_y = channels.d_y(tile.read(d_output + out + first, lanes), largest);
      const auto winners = tile.read(pooled.winners + out + first, lanes);
      for (int q = 0; q < 4; ++q) {
        const Index at = in + window.offset[q] + first;
        tile.write(d_input + at, channels.d_input(tile.read(input + at, lanes), given_to(q, winners, d_y)), lanes);
      }
    });
  });
  for_unread(s, [&](Index pixel) {
    for_channel_tiles<T, 1>(s.channels, [&](auto tile, int first, int lanes) {
      const Channels<decltype(tile)> channels(values, first, lanes, s.relu);
      const auto x = tile.read(input + pixel + first, lanes);
      tile.write(d_input + pixel + first, channels.d_input(x, decltype(x){}), lanes);
    });
  });
}

template <class T>
void enter(Kernels<T>& k) {
  k.batch_norm_moments = batch_norm_moments<T>;
  k.batch_norm_take_running = batch_norm_take_running<T>;
  k.batch_norm_take_batch = batch_norm_take_batch<T>;
  k.batch_norm_take_gradient = batch_norm_take_gradient<T>;
  k.batch_norm_pool = batch_norm_pool<T>;
  k.batch_norm_forward = batch_norm_forward<T>;
  k.batch_norm_sums = batch_norm_sums<T>;
  k.batch_norm_backward = batch_norm_backward<T>;
}

}  // namespace

void CNNX_TARGET::fill_batch_norm(Kernels<float>& float32, Kernels<double>& float64) {
  enter(float32);
  if constexpr (has_float64) enter(float64);
}

}  // namespace cnnx
