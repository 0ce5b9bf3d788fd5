"""Calls a method: python3 call.py BROKER METHOD [PARAMETERS]"""

import json
import sys

import trefoil


def main() -> int:
    if len(sys.argv) not in (3, 4):
        print(__doc__, file=sys.stderr)
        return 2
    broker, method, text = (sys.argv[1:] + ["{}"])[:3]
    try:
        parameters = json.loads(text)
    except ValueError as error:
        print(f"the parameters are no JSON: {error}", file=sys.stderr)
        return 2
    try:
        with trefoil.connect(broker) as client:
            print(json.dumps(client.call(method, parameters), ensure_ascii=False))
    except trefoil.Error as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
