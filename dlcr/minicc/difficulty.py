"""Every knob that makes MiniCC easier or harder, in one place.

A larger spread of identity makes people easier to tell apart, as do garments that they keep; more of anything about
cameras makes it harder. Changing a number here changes pictures of the benchmark. `VERSION` is part of every seed, also
of the scenes that the small models were trained on: a new one needs new models (`python -m stages.pretrain`).
"""

VERSION = 1

IDENTITY_SPREAD = 1.0
"""Scales how far bodies differ from the average one (1: strong but human; 0: everyone has the same body)."""

GAIT_SPREAD = 1.0
"""The same for stride, arm swing and posture."""

YAW_CENTRE = {"A": 10.0, "B": -20.0, "C": 25.0}
"""The way people walk, in degrees: 0 is towards the camera, 90 to the picture's right."""

YAW_JITTER = 14.0
"""Standard deviation of the viewing angle from picture to picture, in degrees."""

BACK_RATE = {"minicc": 0.06, "minicc-night": 0.12, "minicc-crowd": 0.12}
"""Share of pictures in which the person walks away from the camera."""

TINT_STRENGTH = {"minicc": 0.06, "minicc-night": 0.20, "minicc-crowd": 0.12}
"""How far a camera's white balance is off, per channel."""

EXPOSURE_JITTER = 0.05
"""Standard deviation of log exposure from picture to picture."""

NOISE = {"minicc": (0.010, 0.025), "minicc-night": (0.020, 0.040), "minicc-crowd": (0.012, 0.028)}
"""Range of the sensor noise's standard deviation; pixel values go from 0 to 1."""

OCCLUDER_RATE = {"minicc": 0.06, "minicc-night": 0.06, "minicc-crowd": 0.30}
"""Share of pictures with a pole, a bush or a car in front of the person."""

COMPANION_RATE = {"minicc": 0.0, "minicc-night": 0.0, "minicc-crowd": 0.75}
"""Share of pictures with other pedestrians, FRONT_SHARE of them in front and the others behind."""

FRONT_SHARE = 0.35

POSITION_JITTER = 0.02
"""Standard deviation of the person's place in the picture, as a share of its height."""

ZOOM_JITTER = 0.015
"""Standard deviation of log size: how little the height in pixels tells about a person's height."""

KEPT = {"lower": 0.5, "footwear": 0.7}
"""Share of the benchmark's people who keep these garments when they change their clothes; uppers always change."""

BENCHMARK_SHARE = 4
"""One outfit text in this many belongs to the benchmark, the others to pretraining."""
