"""What is done once an image or once a step by hand makes few calls in Python, since they cost more than the work."""

import sys

import numpy as np

import cnnx


def calls_of(work):
    """Return the names of the Python functions that are called, `work` itself left out."""
    names = []

    def note(frame, event, _):
        if event == "call":
            names.append(frame.f_code.co_name)

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return names[1:]


def test_a_prediction_of_one_image_makes_few():
    network, image = cnnx.models.keras_convnet(dtype=np.float32), cnnx.data.load().test_images[0]
    network.predict(image)
    assert len(calls_of(lambda: network.predict(image))) <= 7


def test_a_step_by_hand_makes_few():
    conv, pool, softmax = cnnx.Conv3x3(8), cnnx.MaxPool2(), cnnx.Softmax(1352, 10)
    image, gradient = np.zeros((28, 28)), np.ones(10)

    def step():
        softmax.forward(pool.forward(conv.forward(image)))
        conv.backprop(pool.backprop(softmax.backprop(gradient, 0.005)), 0.005)

    step()  # the first makes the core's layers
    assert len(calls_of(step)) <= 39
