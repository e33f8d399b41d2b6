"""How `cnnx.plot` draws. Only this folder imports matplotlib, and only when a picture is drawn."""

from .._extras import missing

try:
    import matplotlib  # noqa: F401
except ImportError as error:
    raise missing("cnnx.plot", "plot", "matplotlib 3.8 or newer") from error
