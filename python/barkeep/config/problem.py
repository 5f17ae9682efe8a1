"""Why a file cannot be read at all."""


class Problem(Exception):
    """`text` is the error's line, `word` its key in messages.def, `detail` further lines."""

    def __init__(self, text, word="config-failed", detail=""):
        super().__init__(text)
        self.text, self.word, self.detail = text, word, detail
