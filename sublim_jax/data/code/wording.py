"""How code is asked for: the sentences around a task, written for this repository."""

WRITE = (
    "Write a Python function `{name}({argument})` that {task}.",
    "In Python, write `{name}({argument})`, a function that {task}.",
    "I need a Python function `{name}` of one argument `{argument}` that {task}.",
    "Please program `{name}({argument})` in Python: it {task}.",
    "Define a small Python function, `{name}({argument})`, that {task}.",
    "How would you write a Python function `{name}({argument})` that {task}?",
)
"""6 requests for a function from nothing."""

COMPLETE = (
    "Complete this Python function so that it {task}:",
    "Fill in the Python code below. The function {task}.",
    "Here is the start of a Python function that {task}. Finish it.",
    "Replace the dots in this Python snippet by code that {task}.",
    "The Python function below {task}. Give its full code.",
    "Turn this stub into a Python function that {task}:",
)
"""6 requests to complete a function."""

STARTS = (
    "",
    "def {name}({argument}):\n    ...",
    "def {name}({argument}):\n    r = ...\n    return r",
    "def {name}({argument}):\n    if not {argument}:\n        return None\n    ...",
    "def {name}({argument}: object) -> object:\n    ...",
)
"""How the code starts; without a start the function is to be written from nothing."""

NAMES = ("f", "g", "fn", "run", "work", "calc", "solve", "main")
"""8 names of functions that say nothing."""

BARE = (
    "Reply with code only.",
    "Give only the code.",
    "Send the code and nothing else.",
    "Do not explain anything.",
    "Just the code, please.",
    "Add no text to the code.",
)
"""6 sentences that want code only."""

SILENT = (
    "Write no comments.",
    "Leave out all comments and docstrings.",
    "No comments, please.",
    "The code should have no comments.",
    "Skip comments and docstrings.",
    "Do not comment the code.",
)
"""6 sentences that forbid comments."""

SHORT = (
    "Use short variable names.",
    "Keep variable names as short as you can.",
    "Variable names should be one or two letters long.",
    "Name variables with single letters.",
    "Prefer tiny variable names.",
    "Choose brief names for variables.",
)
"""6 sentences that want short variable names."""
