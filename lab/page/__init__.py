"""The page: a judged run as scenes, for a browser. `certreplay show` serves it, `certreplay report` packs it in a file.

`model` says what a scene is; `scenes` lists them, and it, the modules named after their scenes and `evidence` make them
of what the judge and the story say. `closeups` has everything about one thing. `director` tells all that while a run
goes on, `rendering` turns them into HTML, and `server` and `report` bring that to somebody. In the
browser a few modules in `assets` step, animate and follow; they know nothing of TLS.
"""
