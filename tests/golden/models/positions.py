"""Writes positions.json: position embeddings as timm resamples them, for grids of 5 and 3 places a side.

    python tests/golden/models/positions.py

Number `i` of the class token and the places is sin(0.37 * i); two numbers a place.
"""

import json
import pathlib

import torch
from timm.layers import resample_abs_pos_embed


def main():
    cases = []
    for old, new in [(5, 3), (3, 4), (4, 9), (3, 3)]:
        values = torch.sin(0.37 * torch.arange((1 + old * old) * 2, dtype=torch.float64)).float()
        found = resample_abs_pos_embed(values.reshape(1, -1, 2), [new, new], num_prefix_tokens=1)
        cases.append({"old": old, "new": new, "values": [float(f"{v:.8g}") for v in found.flatten().tolist()]})
    path = pathlib.Path(__file__).with_name("positions.json")
    path.write_text(json.dumps(cases) + "\n")


if __name__ == "__main__":
    main()
