"""What a small board would need for a frame (the paper's Table 3): estimated, never measured here."""

BOARDS = {"Raspberry Pi 5, ONNX Runtime": 67.0, "Raspberry Pi 5, ncnn": 153.0}
"""GFLOP/s of convolutions by published figures."""


def board_ms(rows: list[dict]) -> dict[str, dict[str, float]]:
    """{"e1 k2": {board: milliseconds per frame}}: counted GFLOP of frames made one at a time over published GFLOP/s."""
    return {
        f"{row['mode']} {row['steps']}": {board: 1000 * row["gflop"] / speed for board, speed in BOARDS.items()}
        for row in rows
        if row["chunk"] == min(row["chunk"] for row in rows)
    }
