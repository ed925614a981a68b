"""The page: a judged run as scenes, for a browser. `certreplay show` serves it, `certreplay report` packs it in a file.

`model` says what a scene is, `scenes` and `evidence` make them of what the judge and the story say, `director` tells
them while a run goes on, `rendering` turns them into HTML, and `server` and `report` bring that to somebody. In the
browser a few modules in `assets` step, animate and follow; they know nothing of TLS.
"""
