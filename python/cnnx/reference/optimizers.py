"""How parameters follow their gradient, one step at a time.

Plain gradient descent is in the article: Part 2, section 3, "Backprop: Softmax". Momentum, Adam and the moving
average of the parameters are not.
"""

import numpy as np

from .notation import FloatArray

__all__ = ["adam_update", "average_update", "sgd_update"]


def sgd_update(
    parameters: FloatArray,
    velocity: FloatArray,
    gradient: FloatArray,
    learn_rate: float,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> None:
    """Take one step of stochastic gradient descent: `parameters` and `velocity` change in place.

    `slope = gradient + weight_decay · parameters`
    `velocity ← momentum · velocity + slope`
    `parameters ← parameters − learn_rate · velocity`

    With `nesterov` the step looks ahead: `momentum · velocity + slope` replaces `velocity` in the last line.
    All three arrays have one shape; `velocity` starts as zeros.

    Source: Sutskever et al., *On the importance of initialization and momentum in deep learning* (2013), in the
    form that PyTorch has.
    """
    slope = gradient + weight_decay * parameters
    velocity[...] = momentum * velocity + slope
    parameters -= learn_rate * (momentum * velocity + slope if nesterov else velocity)


def adam_update(
    parameters: FloatArray,
    first_moment: FloatArray,
    second_moment: FloatArray,
    gradient: FloatArray,
    learn_rate: float,
    step: int,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 0.0,
) -> None:
    """Take step number `step`, from 1, of Adam: `parameters` and both moments change in place.

    `first_moment ← beta1 · first_moment + (1 − beta1) · gradient`
    `second_moment ← beta2 · second_moment + (1 − beta2) · gradient²`
    `mean = first_moment / (1 − beta1^step)`, `variance = second_moment / (1 − beta2^step)`
    `parameters ← (1 − learn_rate · weight_decay) · parameters − learn_rate · mean / (√variance + epsilon)`

    The divisions make up for moments that start as zeros. All four arrays have one shape.

    Source: Kingma and Ba, *Adam: A Method for Stochastic Optimization* (2015), with the weight decay of Loshchilov
    and Hutter, *Decoupled Weight Decay Regularization* (2019).
    """
    first_moment[...] = beta1 * first_moment + (1 - beta1) * gradient
    second_moment[...] = beta2 * second_moment + (1 - beta2) * gradient**2
    mean, variance = first_moment / (1 - beta1**step), second_moment / (1 - beta2**step)
    parameters *= 1 - learn_rate * weight_decay
    parameters -= learn_rate * mean / (np.sqrt(variance) + epsilon)


def average_update(average: FloatArray, parameters: FloatArray, step: int, decay: float) -> None:
    """Let the average follow the parameters after step number `step`, from 1: `average` changes in place.

    `stays = min(decay, step / (step + 9))`
    `average ← average + (1 − stays) · (parameters − average)`

    Both arrays have one shape; `average` starts as the parameters before the first step. As the share that stays grows
    from step to step, the bad parameters of the first steps are soon forgotten.

    Source: Polyak and Juditsky, *Acceleration of Stochastic Approximation by Averaging* (1992), for the idea, and
    TensorFlow's ExponentialMovingAverage with `num_updates` = step − 1 for the shares.
    """
    average += (1 - min(decay, step / (step + 9))) * (parameters - average)
