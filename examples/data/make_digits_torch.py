"""Train a network in torch to read digits row by row, and save it as torch does: digits_torch.pt."""

from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy


class Reader(nn.Module):
    """After each row of a digit, logits of what it is."""

    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(8, 32), nn.Linear(32, 10)

    def forward(self, x):
        """Logits (T, B, 10) of digits (T, B, 8)."""
        return self.head(self.lstm(x)[0])


if __name__ == "__main__":
    torch.manual_seed(0)
    x, y = map(torch.as_tensor, load_digits(return_X_y=True))
    x = (x.float() / 8 - 1).reshape(-1, 8, 8).transpose(0, 1)  # (8 rows, 1797, 8 pixels)
    model, steps = Reader(), 60 * 45
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        adam := torch.optim.Adam(model.parameters()), 1e-2, total_steps=steps
    )
    for rows in (rows for _ in range(60) for rows in torch.randperm(len(y) - 360).split(32)):
        adam.zero_grad()
        noisy = x[:, rows] + 0.4 * torch.randn(8, len(rows), 8)  # or the digits would be learned by heart
        cross_entropy(model(noisy).flatten(0, 1), y[rows].repeat(8)).backward()
        adam.step()
        schedule.step()
    right = model(x[:, -360:]).argmax(-1) == y[-360:]
    print("Held out, after each row:", *(f"{share:.1%}" for share in right.float().mean(1)))
    torch.save(model.state_dict(), Path(__file__).with_name("digits_torch.pt"))
