from __future__ import annotations

import signal

# What a shell starts in the background has SIGINT ignored, and every process of a test inherits it:
# none of them would end at Ctrl-C then.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
