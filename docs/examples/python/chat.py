"""Says what you type to everybody in the room: python3 chat.py BROKER NAME"""

import sys

import trefoil

ROOM = "chat"


def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    broker, name = sys.argv[1:]
    with trefoil.connect(broker) as client:
        client.create_topic(ROOM)
        client.subscribe(ROOM, lambda said: print(f"{said['from']}: {said['text']}", flush=True),
                         on_gap=lambda missed: print(f"({missed} messages were lost)", flush=True))
        print(f"you are {name}; an empty line ends", flush=True)
        while True:
            text = sys.stdin.readline().strip()
            if not text:
                break
            client.publish(ROOM, {"from": name, "text": text})
    return 0


if __name__ == "__main__":
    sys.exit(main())
