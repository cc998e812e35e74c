"""The `Engine` interface over inference servers, so that more machines than one can serve a big model.

    with RemoteEngine(["http://10.0.0.5:8080", "http://10.0.0.6:8080"], idle=3, eos=2) as engine:
        slot = engine.open(Sampling())          # from here on like any other engine

`engine.py` is what the loop sees; `turn.py` one request, without any network; `fleet.py` which server serves whom;
`wire.py` HTTP; `llamacpp.py`, `completions.py` (vLLM) and `sglang.py` what each kind of server wants to hear.
"""

from duplex_runtime.engine.remote.engine import RemoteEngine

__all__ = ["RemoteEngine"]
