// A network: layers with the caller's parameters, and the loops over many samples that train it and predict with it.
#pragma once

#include <memory>
#include <vector>

#include "plan.hpp"
#include "samples.hpp"
#include "threads.hpp"
#include "trainer.hpp"

namespace cnnx {

// Any number of threads may call predict at once, also while another one trains. They see the parameters as they are
// before or after a window of training. Calls of train, gradient and apply wait for each other.
template <class T>
class Network {
 public:
  // Where a run of training is, as far as the caller's arrays do not tell it.
  struct Place {
    std::vector<T> packed;  // parameters as the next window continues with them; empty if it packs the caller's arrays
    Index steps = 0;        // how many steps were taken since they were packed
    bool plain = false;     // whether all of the run uses the plain plan
  };

  // The layers' arrays must live as long as the network and stay where they are. `image` is the shape of each image, of
  // rank 2 or 3. Throws std::invalid_argument if the layers do not fit together. Without `fuse`, each layer is computed
  // by itself, which is slower.
  Network(const std::vector<Layer<T>>& layers, const Shape& image, bool fuse = true);
  ~Network();

  const Shape& image() const noexcept { return fused_.image(); }
  int nodes() const noexcept { return fused_.nodes(); }
  // About how many multiplications a sample's forward pass takes.
  Index work() const noexcept { return fused_.work(); }
  Index parameter_count() const noexcept { return fused_.parameter_count(); }
  Index buffer_count() const noexcept { return fused_.buffer_count(); }
  // How many shards training cuts a batch into.
  Index shards_of(Index samples) const noexcept { return cnnx::shards_of(fused_, samples); }

  // See Trainer.
  void train(const Images<T>& images, const Batches<T>& batches, const Optimizer<T>& optimizer, int threads,
             const Results<T>& results);
  // If the results have room for the images' gradients, the layers are not fused, which is slower.
  void gradient(const Images<T>& images, const Batches<T>& batch, int threads, T* flat, const Results<T>& results);
  void forward(const Images<T>& images, const Batches<T>& batch, int threads, const Results<T>& results);
  // Another network whose caller has the same arrays continues a run at its place with the same bits. Throws
  // std::invalid_argument if the place does not belong to such layers.
  Place place();
  void continue_at(const Place& place);
  void apply(const T* flat, const Optimizer<T>& optimizer, double learn_rate);

  // The outputs of every image, or also its loss. The number of threads changes no result.
  void predict(const Images<T>& images, const Loss<T>& loss, int threads, const Results<T>& results);

 private:
  struct Context;
  class Contexts;
  struct Prediction;

  using Trainers = std::unique_ptr<Trainer<T>>[2];  // on the fused plan and on the plain one, made when needed

  Trainer<T>& one_of(Trainers& trainers, bool plain);
  Trainer<T>& one_for(const Images<T>& images, const Batches<T>& batch);
  bool images_are_small(const Images<T>& images, const std::int64_t* some, Index count) const;

  const Plan<T> fused_, plain_;
  const std::unique_ptr<const Plan<T>> folded_;  // for prediction, if a batch normalisation can be folded
  std::unique_ptr<Contexts> of_fused_, of_plain_;
  Trainers trainers_;
  Trainers gradients_;                     // separate, because trainers_ keep their packed parameters between windows
  std::unique_ptr<Trainer<T>> of_images_;  // computes gradients with those of the images, made when needed
  bool trains_plain_ = false;              // whether all of the current run of training uses the plain plan
  Mutex training_;
  SharedMutex writing_;  // locked while the caller's arrays are written, shared while they are read
};

extern template class Network<float>;
extern template class Network<double>;

}  // namespace cnnx
