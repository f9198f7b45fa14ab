"""Training of the mini models on MiniCC's pretraining stream: `python -m stages.pretrain NAME`.

One module per model, each with `pretrain(folder, settings) -> scores`. Only scenes of
`dlcr.minicc.pretrain_scene` are seen, which share no person, outfit text or camera with the benchmark; scores
are measured on scenes beyond the training pool.
"""
