"""Serves math.add and text.upper until its standard input ends: python3 provide.py BROKER"""

import sys

import trefoil


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    with trefoil.connect(sys.argv[1]) as client, trefoil.Provider(client) as provider:

        @provider.method("math.add")
        def add(num1: int, num2: int) -> int:
            return num1 + num2

        @provider.method("text.upper")
        def upper(text: str) -> str:
            if not text:
                raise trefoil.Error(trefoil.Code.INVALID_PARAMS, "there is nothing to raise")
            return text.upper()

        provider.start()
        print("serves math.add and text.upper at %s:%d" % provider.address, flush=True)
        sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main())
