"""Say where a file comes from, by its manifest and its mark: ``python -m tsd.commands.verify sample.mp4``.

Prints JSON, and one sentence on stderr. Ends with 0 whatever it finds, with 2 where there is no such file.
"""

import json
import sys

from tsd.commands.errors import user_errors
from tsd.media.verification import verify


@user_errors
def main() -> None:
    if len(sys.argv) != 2:
        raise ValueError("give one file: python -m tsd.commands.verify sample.mp4")
    result = verify(sys.argv[1])
    print(json.dumps(result, indent=2))
    print(result["sentence"], file=sys.stderr)


if __name__ == "__main__":
    main()
