from django.db import models


class Article(models.Model):
    """The views `db` and `pgquery` read one row."""

    title = models.CharField(max_length=200)
    text = models.TextField()
    published = models.DateTimeField()


class Comment(models.Model):
    """The view `pgpage` lists these."""

    article = models.ForeignKey(Article, models.CASCADE)
    author = models.CharField(max_length=80)
    text = models.TextField()
