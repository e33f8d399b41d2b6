"""What the pages of docs/ need besides cnnx and its dependencies."""

NEEDED = {  # page -> what it imports
    "many-processes": "joblib",
    "other-frameworks": "onnxruntime",
    "own-pictures": "PIL",
    "plots": "matplotlib",
    "scikit-learn": "sklearn",
    "several-machines": "mpi4py",
}
