from django.db import models


class Article(models.Model):
    """What the view `db` reads one row of."""

    title = models.CharField(max_length=200)
    text = models.TextField()
    published = models.DateTimeField()
