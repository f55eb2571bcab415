"""Pages for a web browser in which a face speaks: ``app`` computes on this machine in Python, ``site`` in the visitor's
browser. (The page that an evaluation writes is ``tsd.evaluation.page``.)"""
