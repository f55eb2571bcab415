"""Real talking clips of any kind: each one's first face and sound in, the generated lips beside the real ones.

``reading`` finds the talking face, ``lips`` scores one track of lips, ``loudness`` is the control that hears nothing
but how loud it is, ``fitting`` fits it, ``run`` judges a folder, ``report`` writes what came of it.
"""
