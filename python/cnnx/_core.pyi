from ._checks import FloatArray

__version__: str

def targets() -> list[str]:
    """The CPU targets that this CPU can run, the best one last."""

def active_target() -> str:
    """The CPU target in use; the environment variable CNNX_TARGET forces one."""

def conv3x3_forward(input: FloatArray, filters: FloatArray) -> FloatArray: ...
def conv3x3_backprop(
    d_L_d_out: FloatArray, input: FloatArray, filters: FloatArray, learn_rate: float
) -> FloatArray: ...
def max_pool2_forward(input: FloatArray) -> FloatArray: ...
def max_pool2_backprop(d_L_d_out: FloatArray, input: FloatArray, first_tie_only: bool) -> FloatArray: ...
def softmax_forward(
    input: FloatArray, weights: FloatArray, biases: FloatArray
) -> tuple[FloatArray, FloatArray]: ...
def softmax_backprop(
    d_L_d_out: FloatArray,
    input: FloatArray,
    weights: FloatArray,
    biases: FloatArray,
    totals: FloatArray,
    learn_rate: float,
) -> FloatArray: ...
