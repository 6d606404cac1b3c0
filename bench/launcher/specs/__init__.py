"""How each process of a bench is started: its configuration file and its command line, made from bench file and options.

Nothing is started here; the only side effect is writing the configuration files. One module for each kind of process, and
``names`` for what they are called. Each function takes the run's ``RunSetup``, whose ports ``launcher.prepare`` has chosen.
"""
