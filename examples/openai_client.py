"""Five requests with the OpenAI client, and what the cache says about each.

Run `make run` in one terminal and this in another: `.venv/bin/python examples/openai_client.py`. It needs the OpenAI client, which
`make setup` installs too (elsewhere: `pip install openai`).
Another service or key: `OPENAI_BASE_URL`, `OPENAI_API_KEY`.
"""

from __future__ import annotations

import os
import time

from openai import OpenAI

MODEL = "gpt-image-2.5-flare"
FOX = "A watercolor painting of a red fox sleeping under an oak tree"
REQUESTS = [
    ("a first request is generated", FOX, "1024x1024"),
    ("the same again is an exact hit", FOX, "1024x1024"),
    ("a paraphrase is a semantic hit", "a red fox sleeping under an oak tree, watercolor painting", "1024x1024"),
    ("another colour is not, however close", FOX.replace("red", "blue"), "1024x1024"),
    ("another size is another request", FOX, "1536x1024"),
]


def main() -> None:
    """Sends the requests one after the other."""
    client = OpenAI(
        base_url=os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1"),
        api_key=os.environ.get("OPENAI_API_KEY", "anything"),
    )
    for what, prompt, size in REQUESTS:
        began = time.perf_counter()
        answer = client.images.with_raw_response.generate(model=MODEL, prompt=prompt, size=size)
        seconds = time.perf_counter() - began
        image = answer.parse().data[0].b64_json or ""
        print(f"{what}\n  {seconds * 1000:6.0f} ms, {len(image) * 3 // 4:,} bytes\n  {answer.headers['Cache-Status']}")


if __name__ == "__main__":
    main()
