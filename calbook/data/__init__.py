"""Pictures and annotations: synthetic people, COCO layout, checks."""
