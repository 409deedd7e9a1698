"""Times and sizes in words, as a user is told them."""


def duration(seconds: float) -> str:
    """Return a time in its two largest units: "3 d 4 h", "2 h 5 min", "40 s"."""
    minutes, hours = round(seconds / 60), round(seconds / 3600)
    if seconds < 120:
        return f"{seconds:.0f} s"
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
    return f"{hours // 24} d {hours % 24} h"


def size(count: float) -> str:
    """Return a number of bytes in GB, or in MB where it is less than one."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
