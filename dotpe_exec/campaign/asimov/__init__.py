"""asimov's analyses by this package: :class:`.pipeline.DotpeExec` is the plug-in.

What an analysis is comes from asimov's ledger (:mod:`.ledger`); it is a campaign of one
event in asimov's run directory. Needs the extra ``asimov``.
"""
